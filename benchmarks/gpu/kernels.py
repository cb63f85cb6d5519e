"""The ten costliest kernels of a forward pass and of a training step of FAN-Hybrid-S."""

from collections.abc import Callable

import torch
from backbone import build, step
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from gpu.results import Results
from gpu.timing import device, synchronize

COUNT = 10


def measure(results: Results, small: bool) -> None:
    """Add a row for each kernel; on a CPU, for each operation."""
    arch, size = ('fan_hybrid:tiny', (32, 64)) if small else ('fan_hybrid:small', (1024, 1024))
    for train, batch in ((True, 2), (False, 1)):
        module, _, _ = build(arch)
        module.to(device()).train(train)
        images = torch.randn(batch, 3, *size, device=device())
        for half in (False,) if small else (True, False):
            what = f'{"training step" if train else "forward"}, {arch}, {"bfloat16" if half else "float32"}'
            work = step(module, list(module.parameters()), images, train, half)
            with results.case(what) as row:
                kernels = costliest(work)
                row |= dict(kernel='all', **kernels.pop('all'))
            for name, values in kernels.items():
                with results.case(what) as row:
                    row |= dict(kernel=name[:100], **values)


def costliest(work: Callable[[], object]) -> dict[str, dict]:
    """Milliseconds, calls and share of all kernels of one call, and of its costliest kernels."""
    for _ in range(2):
        work()
    synchronize()
    on_gpu = torch.cuda.is_available()
    activity = ProfilerActivity.CUDA if on_gpu else ProfilerActivity.CPU
    with profile(activities=[ProfilerActivity.CPU, activity]) as profiler:
        work()
        synchronize()
    kind = DeviceType.CUDA if on_gpu else DeviceType.CPU
    events = [
        event
        for event in profiler.key_averages()
        if event.device_type == kind and not event.is_user_annotation
    ]
    time = {
        event.key: (event.self_device_time_total if on_gpu else event.self_cpu_time_total) / 1000
        for event in events
    }
    calls = {event.key: event.count for event in events}
    total = sum(time.values())
    found = {'all': dict(ms=total, calls=sum(calls.values()))}
    for name in sorted(time, key=time.get, reverse=True)[:COUNT]:
        found[name] = dict(ms=time[name], calls=calls[name], share=time[name] / total)
    return found
