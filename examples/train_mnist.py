"""Train LeNet, binary or in full precision, on 4,000 real MNIST digits and export it.

    python examples/train_mnist.py --bits 1

This is train.py with the recipe of LeNet and takes all of its options.
"""

from __future__ import annotations

import sys

from train import main

if __name__ == "__main__":
    sys.exit(main(["--recipe", "mnist-lenet", *sys.argv[1:]]))
