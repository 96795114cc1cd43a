"""Runtime: Faust's surface on an engine of epochs, tasks and Kafka transactions. Read ``topology.py`` first."""
