"""What several tests share: workers as processes, whole runs, and the topologies that they run."""
