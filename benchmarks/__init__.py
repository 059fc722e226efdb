"""Times this compiler and its peers in turn, against the machine's own peaks."""
