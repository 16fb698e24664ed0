"""The operator: turns DynamoCheckpoints into Jobs, and the checkpoint blocks of graphs into pods that carry the shim."""
