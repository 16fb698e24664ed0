"""A whole cluster on one machine, for the demo and the tests: API server, controllers, a node, our operator and our agent."""
