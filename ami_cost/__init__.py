"""What a fleet costs on Google Cloud and what gives way first: prices, measured sizes, models."""
