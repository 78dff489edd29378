"""What the platform costs on Google Cloud and how far it reaches: prices, measured sizes, models."""
