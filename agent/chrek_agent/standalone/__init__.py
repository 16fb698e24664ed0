"""`chrek-agent` as a plain command on a node without Kubernetes."""
