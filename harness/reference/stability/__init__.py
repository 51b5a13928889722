"""How far rounding alone moves the result of a recipe, beside how far its seeds lie apart."""
