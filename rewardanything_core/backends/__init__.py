"""Models that can be asked, each behind the same one-method seam."""
