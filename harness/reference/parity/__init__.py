"""Our methods compared with the authors' code: replays vectors that the official implementations produced."""
