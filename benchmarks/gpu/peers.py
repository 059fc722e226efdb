"""The peers on the same card: cuBLAS int8, and PyTorch's float16 in channels-last layout."""

from __future__ import annotations

from typing import Any

from .launch import time_on_gpu
from .ours import Conv


def time_int8_gemm(size: int) -> float:
    """Measure the seconds of cuBLAS's product of int8 matrices, int32 out."""
    import torch

    a = torch.randint(-128, 127, (size, size), dtype=torch.int8, device="cuda")
    b = torch.randint(-128, 127, (size, size), dtype=torch.int8, device="cuda").t()
    return time_on_gpu(lambda: torch._int_mm(a, b))


def time_half_conv(conv: Conv) -> float:
    """Measure the seconds of cuDNN's best float16 convolution of the same shape."""
    import torch

    torch.backends.cudnn.benchmark = True
    layer = torch.nn.Conv2d(conv.channels, conv.channels, 3, padding=1, bias=False)
    layer = layer.cuda().half().to(memory_format=torch.channels_last)
    data = _images(conv.batch, conv.channels, conv.size)
    with torch.inference_mode():
        return time_on_gpu(lambda: layer(data))


def time_half_resnet(batch: int) -> float:
    """Measure the seconds of a float16 ResNet-18, replayed as a CUDA graph."""
    import torch

    torch.backends.cudnn.benchmark = True
    network = resnet18().cuda().half().eval().to(memory_format=torch.channels_last)
    data = _images(batch, 3, 224)
    with torch.inference_mode():
        for _ in range(3):
            network(data)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            network(data)
        return time_on_gpu(graph.replay)


def _images(batch: int, channels: int, size: int) -> Any:
    import torch

    data = torch.randn(batch, channels, size, size, dtype=torch.float16, device="cuda")
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
