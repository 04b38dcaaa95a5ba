// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The kernel's half of the real server's fast path: takes the outer header off what the gate
// (`decap`) would admit, and hands the packet to the TUN's ingress, as if the daemon had written
// it. It is only stricter than the gate: all other packets pass unchanged, and those for the gate
// reach the daemon's raw sockets.
//
// It runs at the ingress of the host's Ethernet interfaces (tcx).

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#ifndef BPF_F_ADJ_ROOM_DECAP_L3_IPV4 // Linux 6.3
#define BPF_F_ADJ_ROOM_DECAP_L3_IPV4 (1ULL << 7)
#define BPF_F_ADJ_ROOM_DECAP_L3_IPV6 (1ULL << 8)
#endif

// The next program, then the stack.
#define NEXT (-1)

#define ETH 14
#define FRAGMENT 0x3fff // more fragments, or an offset
#define ECN 3
#define ECT_1 1
#define CE 3

// A datagram in a longer frame may be a merged one: the gate tells them apart.
#define LONGEST_DATAGRAM (ETH + 1500)

// Set at the load: the TUN's index, and the UDP port of GUE.
volatile const __u32 tun = 0;
volatile const __u16 gue_port = 0;

// An IPv4 address is in its mapped form.
struct address {
	__u32 words[4];
};

struct range {
	__u32 prefix_len;
	struct address address;
};

struct count {
	__u64 packets;
	__u64 bytes;
	__u64 merged;
};

// `decap::Gate`: the outer sources.
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 256);
	__type(key, struct range);
	__type(value, __u32);
} directors SEC(".maps");

// The virtual IPs.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct address);
	__type(value, __u32);
} vips SEC(".maps");

// This host's addresses: tunnelled packets to others are only forwarded here.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct address);
	__type(value, __u32);
} own SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct count);
} counts SEC(".maps");

// What an IP header says.
struct header {
	struct address source;
	struct address destination;
	// Of the header alone, and of the whole packet.
	__u32 header_len;
	__u32 len;
	__u8 traffic_class;
	__u8 protocol;
};

static __always_inline void map_v4(struct address *address, __be32 v4)
{
	address->words[0] = address->words[1] = 0;
	address->words[2] = bpf_htonl(0xffff);
	address->words[3] = v4;
}

// Reads an IPv4 header without options of a whole packet. 0: there is none.
static __always_inline int read_v4(struct __sk_buff *skb, __u32 at, struct header *header)
{
	struct iphdr ip;
	if (bpf_skb_load_bytes(skb, at, &ip, sizeof(ip)) || ip.version != 4 || ip.ihl != 5)
		return 0;
	if (ip.frag_off & bpf_htons(FRAGMENT))
		return 0;
	__u32 sum = 0;
	__u16 *word = (__u16 *)&ip;
#pragma unroll
	for (int i = 0; i < 10; i++)
		sum += word[i];
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	if (sum != 0xffff)
		return 0;
	map_v4(&header->source, ip.saddr);
	map_v4(&header->destination, ip.daddr);
	header->header_len = sizeof(ip);
	header->len = bpf_ntohs(ip.tot_len);
	header->traffic_class = ip.tos;
	header->protocol = ip.protocol;
	return 1;
}

// The same of IPv6. Extension headers, fragments among them, are another protocol.
static __always_inline int read_v6(struct __sk_buff *skb, __u32 at, struct header *header)
{
	struct ipv6hdr ip;
	if (bpf_skb_load_bytes(skb, at, &ip, sizeof(ip)))
		return 0;
	__u32 first = bpf_ntohl(*(__be32 *)&ip);
	if (first >> 28 != 6)
		return 0;
	__builtin_memcpy(&header->source, &ip.saddr, 16);
	__builtin_memcpy(&header->destination, &ip.daddr, 16);
	header->header_len = sizeof(ip);
	header->len = sizeof(ip) + bpf_ntohs(ip.payload_len);
	header->traffic_class = first >> 20;
	header->protocol = ip.nexthdr;
	return 1;
}

// Whether a client can have this address (`wire::is_host`).
static __always_inline int is_host(const struct address *address, int version)
{
	if (version == 4) {
		__u32 first = bpf_ntohl(address->words[3]) >> 24;
		return first != 0 && first != 127 && first < 224;
	}
	__u32 first = bpf_ntohl(address->words[0]);
	// Mapped addresses, ::1 and :: begin with zeros.
	return (address->words[0] || address->words[1]) && first >> 24 != 0xff &&
	       first >> 22 != 0xfe80 >> 6;
}

// Whether the transport header is one that the gate passes to the TUN without looking further.
static __always_inline int passes(struct __sk_buff *skb, __u32 at, const struct header *inner)
{
	__u32 len = inner->len - inner->header_len;
	if (inner->protocol == IPPROTO_TCP) {
		struct tcphdr tcp;
		return !bpf_skb_load_bytes(skb, at, &tcp, sizeof(tcp)) && tcp.doff >= 5 &&
		       tcp.doff * 4 <= len;
	}
	if (inner->protocol == IPPROTO_UDP) {
		struct udphdr udp;
		return !bpf_skb_load_bytes(skb, at, &udp, sizeof(udp)) && !skb->gso_size &&
		       skb->len <= LONGEST_DATAGRAM && bpf_ntohs(udp.len) == len &&
		       bpf_ntohs(udp.dest) != gue_port;
	}
	return 0;
}

// The inner traffic class at the tunnel's end (RFC 6040 figure 4). Less than 0: to be dropped.
static __always_inline int marked(__u8 outer, __u8 inner)
{
	__u8 mark = outer & ECN;
	if ((inner & ECN) == 0)
		return mark == CE ? -1 : inner;
	if ((inner & ECN) == CE)
		return inner;
	if (mark == CE)
		return inner | CE;
	return mark == ECT_1 ? (inner & ~ECN) | ECT_1 : inner;
}

// Writes the traffic class of the packet behind the Ethernet header.
static __always_inline long mark(struct __sk_buff *skb, int version, __u8 before, __u8 after)
{
	if (version == 4) {
		__be16 from = bpf_htons(0x4500 | before), to = bpf_htons(0x4500 | after);
		return bpf_l3_csum_replace(skb, ETH + 10, from, to, 2) |
		       bpf_skb_store_bytes(skb, ETH + 1, &after, 1, 0);
	}
	__u8 first[2];
	if (bpf_skb_load_bytes(skb, ETH, first, 2))
		return -1;
	first[0] = 0x60 | after >> 4;
	first[1] = after << 4 | (first[1] & 0x0f);
	return bpf_skb_store_bytes(skb, ETH, first, 2, 0);
}

SEC("classifier")
int real_fast_path(struct __sk_buff *skb)
{
	if (skb->pkt_type != 0 || skb->vlan_present)
		return NEXT;
	struct header outer = {}, inner = {};
	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		if (!read_v4(skb, ETH, &outer))
			return NEXT;
	} else if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
		if (!read_v6(skb, ETH, &outer))
			return NEXT;
	} else {
		return NEXT;
	}
	__u32 at = ETH + outer.header_len;
	int version = outer.protocol == IPPROTO_IPIP ? 4 : 6;
	if (outer.protocol == IPPROTO_IPIP) {
		if (!read_v4(skb, at, &inner))
			return NEXT;
	} else if (outer.protocol == IPPROTO_IPV6) {
		if (!read_v6(skb, at, &inner))
			return NEXT;
	} else {
		return NEXT;
	}
	// Nothing is behind either packet.
	if (skb->len != ETH + outer.len || outer.len != outer.header_len + inner.len)
		return NEXT;
	struct range director = { .prefix_len = 128, .address = outer.source };
	if (!bpf_map_lookup_elem(&directors, &director) ||
	    !bpf_map_lookup_elem(&own, &outer.destination))
		return NEXT;
	if (!bpf_map_lookup_elem(&vips, &inner.destination) || !is_host(&inner.source, version) ||
	    bpf_map_lookup_elem(&vips, &inner.source))
		return NEXT;
	if (!passes(skb, at + inner.header_len, &inner))
		return NEXT;
	int traffic_class = marked(outer.traffic_class, inner.traffic_class);
	__u32 all = 0;
	struct count *count = bpf_map_lookup_elem(&counts, &all);
	if (traffic_class < 0 || !count)
		return NEXT;

	__u64 flags = BPF_F_ADJ_ROOM_FIXED_GSO;
	flags |= version == 4 ? BPF_F_ADJ_ROOM_DECAP_L3_IPV4 : BPF_F_ADJ_ROOM_DECAP_L3_IPV6;
	__s32 room = -(__s32)outer.header_len;
	if (bpf_skb_adjust_room(skb, room, BPF_ADJ_ROOM_MAC, flags))
		return NEXT;
	count->packets++;
	count->bytes += inner.len;
	if (skb->gso_size)
		count->merged++;
	// Not seen: the bytes have been read.
	if (traffic_class != inner.traffic_class &&
	    mark(skb, version, inner.traffic_class, traffic_class))
		return TC_ACT_SHOT;
	return bpf_redirect(tun, BPF_F_INGRESS);
}

char _license[] SEC("license") = "MIT OR Apache-2.0";
