"""The machine: processors, memory, disks, network, and the GPU where there is one."""

from monitoring.dashboards.board import (
    BYTES,
    RATIO,
    WATTS,
    Board,
    Panel,
    Query,
    Row,
    Variable,
)

WHERE = 'instance=~"$instance"'
RATE = "[$__rate_interval]"
# Without file systems that are no disk.
DISKS = f'{WHERE}, fstype!~"tmpfs|overlay|squashfs|nsfs|proc|sysfs"'

HOST = Row(
    "Host",
    (
        Panel(
            "Processors",
            "Share of the time in which processors are not idle.",
            RATIO,
            (
                Query(
                    f'1 - avg by (instance) (rate(node_cpu_seconds_total{{{WHERE}, mode="idle"}}'
                    f"{RATE}))",
                    "{{instance}}",
                ),
            ),
        ),
        Panel(
            "Memory",
            "Memory in use and total memory.",
            BYTES,
            (
                Query(
                    f"node_memory_MemTotal_bytes{{{WHERE}}} "
                    f"- node_memory_MemAvailable_bytes{{{WHERE}}}",
                    "{{instance}} used",
                ),
                Query(f"node_memory_MemTotal_bytes{{{WHERE}}}", "{{instance}} total"),
            ),
        ),
        Panel(
            "Disk of the state folder",
            "Bytes free on the disk of the state folder, and the reserve below which uploads are "
            "refused.",
            BYTES,
            (
                Query("max(qasir_state_free_bytes)", "free"),
                Query("max(qasir_state_size_bytes)", "size"),
                Query("max(qasir_state_reserve_bytes)", "reserve"),
            ),
        ),
        Panel(
            "Disks",
            "Share of each disk in use; no data where the exporter sees no disk of the host.",
            RATIO,
            (
                Query(
                    f"1 - max by (instance, device) (node_filesystem_avail_bytes{{{DISKS}}}) "
                    f"/ (max by (instance, device) (node_filesystem_size_bytes{{{DISKS}}}) > 0)",
                    "{{device}}",
                ),
            ),
        ),
        Panel(
            "Reading and writing",
            "Bytes read from and written to disks per second.",
            "Bps",
            (
                Query(
                    f"sum by (instance) (rate(node_disk_read_bytes_total{{{WHERE}}}{RATE}))",
                    "{{instance}} read",
                ),
                Query(
                    f"sum by (instance) (rate(node_disk_written_bytes_total{{{WHERE}}}{RATE}))",
                    "{{instance}} written",
                ),
            ),
        ),
        Panel(
            "Network",
            "Bytes received and sent per second, without loopback.",
            "Bps",
            (
                Query(
                    "sum by (instance) (rate(node_network_receive_bytes_total"
                    f'{{{WHERE}, device!="lo"}}{RATE}))',
                    "{{instance}} received",
                ),
                Query(
                    "sum by (instance) (rate(node_network_transmit_bytes_total"
                    f'{{{WHERE}, device!="lo"}}{RATE}))',
                    "{{instance}} sent",
                ),
            ),
        ),
    ),
)
TRITON = Row(
    "Triton's host",
    (
        Panel(
            "Processors, as Triton sees them",
            "Share of the processors of Triton's machine in use.",
            RATIO,
            (Query("nv_cpu_utilization", "{{instance}}"),),
            width=8,
        ),
        Panel(
            "Memory, as Triton sees it",
            "Memory in use on Triton's machine, and its total.",
            BYTES,
            (
                Query("nv_cpu_memory_used_bytes", "{{instance}} used"),
                Query("nv_cpu_memory_total_bytes", "{{instance}} total"),
            ),
            width=8,
        ),
        Panel(
            "Pinned memory",
            "Bytes of Triton's pinned memory pool in use, and its size.",
            BYTES,
            (
                Query("nv_pinned_memory_pool_used_bytes", "{{instance}} used"),
                Query("nv_pinned_memory_pool_total_bytes", "{{instance}} total"),
            ),
            width=8,
        ),
    ),
)
GPU = Row(
    "GPU",
    (
        Panel(
            "GPU in use",
            "Share of the time in which a kernel ran, by GPU.",
            RATIO,
            (Query("nv_gpu_utilization", "{{gpu_uuid}}"),),
            width=8,
        ),
        Panel(
            "GPU memory",
            "GPU memory in use, and its total, by GPU.",
            BYTES,
            (
                Query("nv_gpu_memory_used_bytes", "{{gpu_uuid}} used"),
                Query("nv_gpu_memory_total_bytes", "{{gpu_uuid}} total"),
            ),
            width=8,
        ),
        Panel(
            "GPU power",
            "Power drawn, and the limit, by GPU.",
            WATTS,
            (
                Query("nv_gpu_power_usage", "{{gpu_uuid}}"),
                Query("nv_gpu_power_limit", "{{gpu_uuid}} limit"),
            ),
            width=8,
        ),
    ),
)
BOARD = Board(
    "qasir-host",
    "qasir: host and GPU",
    "Processors, memory, disks and network of the machines; the GPU where there is one.",
    (Variable("instance", "Instance", "node_uname_info"),),
    (HOST, TRITON, GPU),
)
