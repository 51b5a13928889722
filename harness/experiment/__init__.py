"""What is to be run: settings, recipes, protocols, grids."""
