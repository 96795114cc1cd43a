"""The demo: the main job on real Kafka, with a worker killed half-way. Behind ``tally demo``."""
