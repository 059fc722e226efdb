"""The peers on the same card: cuBLAS int8, and PyTorch's float16 in channels-last layout."""

from __future__ import annotations

from typing import Any

from ..cases import IMAGE, Block
from .launch import TorchCall


def int8_product(size: int) -> TorchCall:
    """Multiply int8 matrices by cuBLAS, int32 out."""
    import torch

    a = torch.randint(-128, 127, (size, size), dtype=torch.int8, device="cuda")
    b = torch.randint(-128, 127, (size, size), dtype=torch.int8, device="cuda").t()
    return TorchCall(lambda: torch._int_mm(a, b))


def half_layer(block: Block, batch: int) -> TorchCall:
    """Convolve in float16 as cuDNN does best: the same shape, channels last."""
    import torch

    torch.backends.cudnn.benchmark = True
    layer = torch.nn.Conv2d(
        block.channels, block.channels, block.kernel, padding=block.kernel // 2, bias=False
    )
    layer = layer.cuda().half().requires_grad_(False).to(memory_format=torch.channels_last)
    data = _images(batch, block.shape)
    return TorchCall(lambda: layer(data))


def half_resnet(batch: int) -> TorchCall:
    """Run ResNet-18 in float16, channels last, replayed as a CUDA graph."""
    import torch

    torch.backends.cudnn.benchmark = True
    network = resnet18().cuda().half().eval().requires_grad_(False)
    network = network.to(memory_format=torch.channels_last)
    data = _images(batch, IMAGE)
    for _ in range(3):
        network(data)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        network(data)
    return TorchCall(graph.replay)


def copy(nbytes: int) -> TorchCall:
    """Copy so many bytes from one place of the card's memory to another."""
    import torch

    source, target = (torch.empty(nbytes, dtype=torch.uint8, device="cuda") for _ in range(2))
    return TorchCall(lambda: target.copy_(source))


def _images(batch: int, image: tuple[int, ...]) -> Any:
    import torch

    data = torch.randn(batch, *image, dtype=torch.float16, device="cuda")
    return data.to(memory_format=torch.channels_last)


def resnet18() -> Any:
    """Make ResNet-18 in PyTorch, its normalisation folded into biases."""
    from torch import nn

    class Block(nn.Module):
        def __init__(self, inputs: int, outputs: int, stride: int):
            super().__init__()
            self.first = nn.Conv2d(inputs, outputs, 3, stride, 1)
            self.second = nn.Conv2d(outputs, outputs, 3, 1, 1)
            changes = stride > 1 or inputs != outputs
            self.shortcut = nn.Conv2d(inputs, outputs, 1, stride) if changes else nn.Identity()

        def forward(self, x: Any) -> Any:
            y = self.second(self.first(x).relu())
            return (y + self.shortcut(x)).relu()

    blocks = [Block(64, 64, 1), Block(64, 64, 1)]
    for outputs in (128, 256, 512):
        blocks += [Block(outputs // 2, outputs, 2), Block(outputs, outputs, 1)]
    stem = [nn.Conv2d(3, 64, 7, 2, 3), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 1000)]
    return nn.Sequential(*stem, *blocks, *head)
