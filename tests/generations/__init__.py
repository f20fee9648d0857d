"""Programs in the style of each generation of the official client, on the local server."""
