"""What readers see: the published warehouse."""
