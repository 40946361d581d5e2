"""The site: settings, routes and the composition of the apps."""
