// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Passes each frame on. `vstun doctor` runs it on frames of its own, which the kernel then receives
// like any that arrive at an interface (`BPF_F_TEST_XDP_LIVE_FRAMES`). It is attached nowhere.

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

char _license[] SEC("license") = "MIT OR Apache-2.0";

SEC("xdp")
int arrival(struct xdp_md *frame)
{
	return XDP_PASS;
}
