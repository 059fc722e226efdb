"""The parts of ``demo_mnist.py``."""
