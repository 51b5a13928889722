"""Our methods beside the authors' code: replays vectors that the official implementations produced."""
