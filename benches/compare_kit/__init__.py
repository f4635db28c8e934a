"""What benches/compare makes of what it measured."""
