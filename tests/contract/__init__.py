"""Black-box tests: they hold the project to sections 2 to 6 of its design, one file a section."""
