"""HTTP: what orchestrators ask on the second port."""
