"""What every self-contained page is made of."""
