"""From a measured baseline to a signed plan, and from results to the next runs. Pure, given its inputs."""
