"""An app with an object class that only tests need."""
