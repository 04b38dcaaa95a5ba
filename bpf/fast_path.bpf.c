// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The kernel's half of the fast path: carries packets of flows that user space has decided.
//
// It makes the same decisions as user space, or stricter ones. A packet that it does not carry
// continues as without it (TCX_NEXT): through the host's stack into the TUN. It drops nothing.
//
// A packet is carried if all of these are true:
//   - It is unfragmented IPv4 without options or IPv6 without extension headers, its destination
//     is this host's hardware address, and its lengths are consistent.
//   - It is TCP with ACK and without SYN, FIN and RST, or UDP that is not a super-frame.
//   - Its flow has a ticket of a tunnel that is open.
//   - TCP: it fits the client's position, as `balancer::position` says.
//   - It fits into the tunnel, and its TTL is greater than 1.
// The program lowers the TTL, as forwarding does, writes the outer header as `balancer::outer`
// says, and the kernel sends the packet to the next hop on the tunnel's interface. Every packet
// that is not carried is counted by reason.
//
// `sys::fast_path` declares the same layouts and asserts their sizes.

#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <linux/in.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

#define NEXT (-1) // TCX_NEXT
#define ETH 14

// A tunnel's slot is its number modulo this.
#define TUNNELS 16384

// `balancer::position`: how far a segment may be from the client's last one.
#define SEQUENCE_WINDOW (4U << 20)
#define ACKNOWLEDGEMENT_WINDOW (1U << 20)
#define KEPT (~0xffffU)

// `balancer::outer`: the outer TTL, and over IPv6 the number of hop limits that UDP uses in
// turn.
#define OUTER_TTL 64
#define HOP_LIMITS 128

// A tick of `last`: 2^28 ns, so that a flow's line is written at most four times a second.
#define TICK_SHIFT 28

#define FRAGMENT 0x3fff // more fragments, or an offset
#define DF 0x4000

// Slots of a bucket, which is one cache line.
#define SLOTS 8

// Why a packet is not carried. `sys::fast_path` has the names.
enum reason {
	FRAME = 1, // for another host, or with a tag that is not in the data
	NOT_IP,
	FRAGMENTED,
	HEADER, // IP options, or a header that the stack refuses
	PROTOCOL, // neither TCP nor UDP next to the IP header
	FLAGS, // TCP that opens or ends a connection
	SUPER_FRAME, // datagrams in one frame: user space sends them one by one
	TTL,
	NO_FLOW,
	HELD, // user space handles its flow again
	TOO_LARGE,
	POSITION, // too far from the client's last position in the stream
	NO_ROOM, // the kernel has no memory for the outer header
	REASONS,
};

// Set at the load: the key of `hash`, and the number of buckets less one.
volatile const __u64 seed = 0;
volatile const __u32 bucket_mask = 0;

// Both ends of a flow; an IPv4 address is in its mapped form.
struct key {
	__u32 client[4];
	__u32 vip[4];
	__be16 client_port;
	__be16 virtual_port;
	__u32 protocol;
} __attribute__((aligned(8)));

// A flow, at the index of its entry in the connection table: one cache line.
struct flow {
	struct key key;
	// The number of its tunnel, and in the upper half its key's tag; 0: it is not carried.
	__u64 ticket;
	// The client's position in its TCP stream: the next sequence number, and in the upper half
	// the last acknowledgement number.
	__u64 position;
	// The tick of its last packet.
	__u32 last;
	// The outer flow label, in the byte order of the network.
	__be32 label;
};

// Indexes of flows by the hashes of their keys. A flow is in one of its two buckets. A slot holds
// the index plus one, and in the upper half the key's tag; 0: it is free.
struct bucket {
	__u64 slots[SLOTS];
};

// A tunnel to a real server of one service.
struct tunnel {
	// 0: closed. A flow's ticket of another number is void.
	__u32 number;
	// The interface towards the real server.
	__u32 interface;
	// The length in bytes of the longest inner packet that fits.
	__u32 limit;
	// 4 or 6.
	__u32 version;
	// IPv4 addresses are in the first word.
	__u32 source[4];
	__u32 destination[4];
	__u64 unused[2];
};

struct count {
	__u64 packets;
	__u64 bytes;
	__u64 frames;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct bucket);
} buckets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct flow);
} flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, TUNNELS);
	__type(key, __u32);
	__type(value, struct tunnel);
} tunnels SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, TUNNELS);
	__type(key, __u32);
	__type(value, struct count);
} counts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, REASONS);
	__type(key, __u32);
	__type(value, __u64);
} refused SEC(".maps");

// The fields of a packet that the program uses.
struct packet {
	struct key key;
	// The length of the IP header and of the whole packet.
	__u32 header_len;
	__u32 len;
	// The length of the transport header, and TCP's numbers.
	__u32 transport_len;
	__u32 sequence;
	__u32 acknowledgement;
	__u32 version;
	__u8 traffic_class;
	__u8 ttl;
};

static __always_inline __u32 is_after(__u32 number, __u32 other)
{
	__u32 ahead = number - other;
	return ahead != 0 && ahead <= 0x7fffffff;
}

static __always_inline __u32 near(__u32 number, __u32 other, __u32 window)
{
	return number - other + window <= 2 * window;
}

// The keyed hash of a key. Its upper half is the key's tag, which also ties a flow's ticket to its
// key: if user space gives the index to another flow meanwhile, the tag no longer matches.
static __always_inline __u64 hash(const struct key *key)
{
	const __u64 *words = (const __u64 *)key;
	__u64 sum = seed;
#pragma unroll
	for (int i = 0; i < 5; i++) {
		sum = (sum ^ words[i]) * 0x9e3779b97f4a7c15ULL;
		sum ^= sum >> 32;
	}
	sum *= 0xd6e8feb86659fd93ULL;
	return sum ^ sum >> 32;
}

static __always_inline int same(const struct key *one, const struct key *other)
{
	const __u64 *a = (const __u64 *)one, *b = (const __u64 *)other;
	return !((a[0] ^ b[0]) | (a[1] ^ b[1]) | (a[2] ^ b[2]) | (a[3] ^ b[3]) | (a[4] ^ b[4]));
}

// The index plus one of the flow with this tag in a bucket; 0: there is none.
static __always_inline __u32 find_in(__u32 at, __u32 tag)
{
	at &= bucket_mask;
	struct bucket *bucket = bpf_map_lookup_elem(&buckets, &at);
	if (!bucket)
		return 0;
#pragma unroll
	for (int i = 0; i < SLOTS; i++) {
		__u64 slot = *(volatile __u64 *)&bucket->slots[i];
		if (slot >> 32 == tag && (__u32)slot)
			return slot;
	}
	return 0;
}

// The flow with this key. NULL: there is none.
static __always_inline struct flow *find(const struct key *key, __u32 *tag)
{
	__u64 sum = hash(key);
	*tag = sum >> 32;
	__u32 at = find_in(sum, *tag);
	if (!at)
		at = find_in((__u32)sum ^ *tag * 0x85ebca77U, *tag);
	if (!at)
		return 0;
	at--;
	struct flow *flow = bpf_map_lookup_elem(&flows, &at);
	return flow && same(&flow->key, key) ? flow : 0;
}

// Reads the IP header. Returns 0, or the reason why the packet is not carried.
static __always_inline int read_ip(struct __sk_buff *skb, struct packet *packet)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = data + ETH;
		if ((void *)(ip + 1) > end || ip->version != 4 || ip->ihl != 5)
			return HEADER;
		if (ip->frag_off & bpf_htons(FRAGMENT))
			return FRAGMENTED;
		// The stack drops a packet with a wrong header checksum.
		__u32 sum = 0;
		__u16 *word = (__u16 *)ip;
#pragma unroll
		for (int i = 0; i < 10; i++)
			sum += word[i];
		sum = (sum & 0xffff) + (sum >> 16);
		sum = (sum & 0xffff) + (sum >> 16);
		if (sum != 0xffff)
			return HEADER;
		packet->version = 4;
		packet->header_len = sizeof(*ip);
		packet->len = bpf_ntohs(ip->tot_len);
		packet->traffic_class = ip->tos;
		packet->ttl = ip->ttl;
		packet->key.client[2] = packet->key.vip[2] = bpf_htonl(0xffff);
		packet->key.client[3] = ip->saddr;
		packet->key.vip[3] = ip->daddr;
		packet->key.protocol = ip->protocol;
		return 0;
	}
	if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip = data + ETH;
		if ((void *)(ip + 1) > end)
			return HEADER;
		__u32 first = bpf_ntohl(*(__be32 *)ip);
		if (first >> 28 != 6)
			return HEADER;
		packet->version = 6;
		packet->header_len = sizeof(*ip);
		packet->len = sizeof(*ip) + bpf_ntohs(ip->payload_len);
		packet->traffic_class = first >> 20;
		packet->ttl = ip->hop_limit;
		__builtin_memcpy(packet->key.client, &ip->saddr, 16);
		__builtin_memcpy(packet->key.vip, &ip->daddr, 16);
		// An IPv6 packet with mapped addresses must not find an IPv4 flow.
		if (!packet->key.client[0] && !packet->key.client[1])
			return HEADER;
		packet->key.protocol = ip->nexthdr;
		return packet->key.protocol == IPPROTO_FRAGMENT ? FRAGMENTED : 0;
	}
	return NOT_IP;
}

// Reads the transport header, by a copy: to add a variable to a packet pointer would need
// `CAP_PERFMON`. Returns 0, or the reason why the packet is not carried.
static __always_inline int read_transport(struct __sk_buff *skb, struct packet *packet)
{
	__u32 at = ETH + packet->header_len;
	if (packet->key.protocol == IPPROTO_TCP) {
		struct tcphdr tcp;
		if (bpf_skb_load_bytes(skb, at, &tcp, sizeof(tcp)) || tcp.doff < 5)
			return HEADER;
		if (!tcp.ack || tcp.syn || tcp.fin || tcp.rst)
			return FLAGS;
		packet->key.client_port = tcp.source;
		packet->key.virtual_port = tcp.dest;
		packet->transport_len = tcp.doff * 4;
		packet->sequence = bpf_ntohl(tcp.seq);
		packet->acknowledgement = bpf_ntohl(tcp.ack_seq);
	} else if (packet->key.protocol == IPPROTO_UDP) {
		struct udphdr udp;
		if (bpf_skb_load_bytes(skb, at, &udp, sizeof(udp)))
			return HEADER;
		if (skb->gso_size)
			return SUPER_FRAME;
		if (bpf_ntohs(udp.len) != packet->len - packet->header_len)
			return HEADER;
		packet->key.client_port = udp.source;
		packet->key.virtual_port = udp.dest;
		packet->transport_len = sizeof(udp);
	} else {
		return PROTOCOL;
	}
	return packet->header_len + packet->transport_len <= packet->len ? 0 : HEADER;
}

// Returns whether a segment may be its client's next one; if so, updates the position.
static __always_inline int follow(struct flow *flow, const struct packet *packet)
{
	__u64 position = *(volatile __u64 *)&flow->position;
	__u32 next = position, acknowledged = position >> 32;
	__u32 end = packet->sequence + packet->len - packet->header_len - packet->transport_len;
	if (packet->sequence != next &&
	    !(near(packet->sequence, next, SEQUENCE_WINDOW) &&
	      near(packet->acknowledgement & KEPT, acknowledged & KEPT, ACKNOWLEDGEMENT_WINDOW)))
		return 0;
	if (is_after(end, next))
		next = end;
	__u64 after = (__u64)packet->acknowledgement << 32 | next;
	if (after != position)
		*(volatile __u64 *)&flow->position = after;
	return 1;
}

// Lowers the TTL of the inner packet, which begins at `at`.
static __always_inline long lower_ttl(struct __sk_buff *skb, __u32 at, __u32 version)
{
	if (version == 6) {
		__u8 hops;
		if (bpf_skb_load_bytes(skb, at + 7, &hops, 1))
			return -1;
		hops--;
		return bpf_skb_store_bytes(skb, at + 7, &hops, 1, 0);
	}
	// TTL, protocol and checksum (RFC 1141).
	struct {
		__u8 ttl;
		__u8 protocol;
		__be16 check;
	} part;
	if (bpf_skb_load_bytes(skb, at + 8, &part, sizeof(part)))
		return -1;
	__u32 sum = (__u32)part.check + bpf_htons(0x0100);
	part.check = sum + (sum >= 0xffff);
	part.ttl--;
	return bpf_skb_store_bytes(skb, at + 8, &part, sizeof(part), 0);
}

// The headers are written by separate functions, so that each needs few registers.
static __noinline long write_v4(struct __sk_buff *skb, const struct packet *packet,
				const struct tunnel *tunnel, __u32 label, __u32 sequence)
{
	int tcp = packet->key.protocol == IPPROTO_TCP;
	struct iphdr ip = {
		.version = 4,
		.ihl = 5,
		.tos = packet->traffic_class,
		.tot_len = bpf_htons(packet->len + sizeof(ip)),
		.ttl = OUTER_TTL,
		.protocol = packet->version == 4 ? IPPROTO_IPIP : IPPROTO_IPV6,
		.saddr = tunnel->source[0],
		.daddr = tunnel->destination[0],
	};
	// Linux merges datagrams whose identifications are equal or follow each other. Those of user
	// space are two more than a multiple of four.
	if (tcp)
		ip.frag_off = bpf_htons(DF);
	else
		ip.id = bpf_htons((__u16)((bpf_ntohl(label) + sequence) << 2));
	__u32 sum = 0;
	__u16 *word = (__u16 *)&ip;
#pragma unroll
	for (int i = 0; i < 10; i++)
		sum += word[i];
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	ip.check = ~sum;
	return bpf_skb_store_bytes(skb, ETH, &ip, sizeof(ip), 0);
}

// What is added to the hop limit of a datagram over IPv6, so that it differs from that of the
// datagram before. The one before a flow's first one was sent by user space, which adds less than
// `HOP_LIMITS`.
static __always_inline __u32 spread(__u32 sequence, int first)
{
	if (first)
		return HOP_LIMITS + sequence % (256 - OUTER_TTL - HOP_LIMITS);
	return sequence % HOP_LIMITS;
}

static __noinline long write_v6(struct __sk_buff *skb, const struct packet *packet,
				const struct tunnel *tunnel, __u32 label, __u32 added)
{
	struct ipv6hdr ip = {};
	*(__be32 *)&ip = bpf_htonl(6U << 28 | (__u32)packet->traffic_class << 20) | label;
	ip.payload_len = bpf_htons(packet->len);
	ip.nexthdr = packet->version == 4 ? IPPROTO_IPIP : IPPROTO_IPV6;
	ip.hop_limit = OUTER_TTL;
	if (packet->key.protocol != IPPROTO_TCP)
		ip.hop_limit += added;
	__builtin_memcpy(&ip.saddr, tunnel->source, 16);
	__builtin_memcpy(&ip.daddr, tunnel->destination, 16);
	return bpf_skb_store_bytes(skb, ETH, &ip, sizeof(ip), 0);
}

// Carries a packet. Returns the kernel's action, or the negated reason why it is not carried.
static __always_inline int carry(struct __sk_buff *skb)
{
	if (skb->pkt_type != 0 || skb->vlan_present)
		return -FRAME;
	struct packet packet = {};
	// The difference of two pointers would need `CAP_PERFMON`.
	if ((void *)(long)skb->data + ETH + 60 > (void *)(long)skb->data_end && skb->len > ETH + 60)
		bpf_skb_pull_data(skb, ETH + 60);
	int why = read_ip(skb, &packet);
	if (!why)
		why = read_transport(skb, &packet);
	if (why)
		return -why;
	if (packet.len > skb->len - ETH)
		return -HEADER;

	__u32 tag;
	struct flow *flow = find(&packet.key, &tag);
	if (!flow)
		return -NO_FLOW;
	if (packet.ttl <= 1)
		return -TTL;
	__u64 ticket = *(volatile __u64 *)&flow->ticket;
	__u32 number = ticket;
	if (!number || ticket >> 32 != tag)
		return -HELD;
	__u32 slot = number & (TUNNELS - 1);
	struct tunnel *tunnel = bpf_map_lookup_elem(&tunnels, &slot);
	struct count *count = bpf_map_lookup_elem(&counts, &slot);
	if (!tunnel || !count || *(volatile __u32 *)&tunnel->number != number)
		return -HELD;

	// The packets on the wire: one, or the segments of a super-frame.
	__u32 headers = packet.header_len + packet.transport_len;
	__u32 payload = packet.len - headers, size = skb->gso_size;
	__u32 longest = packet.len, segments = 1;
	if (size && payload > size) {
		longest = headers + size;
		segments = (payload + size - 1) / size;
	}
	__u32 outer = tunnel->version == 4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr);
	if (longest > tunnel->limit || packet.len > 0xffff - sizeof(struct iphdr))
		return -TOO_LARGE;
	int tcp = packet.key.protocol == IPPROTO_TCP;
	if (tcp && !follow(flow, &packet))
		return -POSITION;
	__u32 label = flow->label;

	// Removes the padding of short frames, which would be sent too.
	if (skb->len > ETH + packet.len && bpf_skb_change_tail(skb, ETH + packet.len, 0))
		return -NO_ROOM;
	__u64 flags = BPF_F_ADJ_ROOM_FIXED_GSO;
	flags |= tunnel->version == 4 ? BPF_F_ADJ_ROOM_ENCAP_L3_IPV4 : BPF_F_ADJ_ROOM_ENCAP_L3_IPV6;
	if (bpf_skb_adjust_room(skb, outer, BPF_ADJ_ROOM_MAC, flags))
		return -NO_ROOM;

	__u32 now = bpf_ktime_get_coarse_ns() >> TICK_SHIFT;
	int first = !flow->last;
	if (flow->last != now)
		flow->last = now;
	__u32 sequence = count->packets;
	count->packets += segments;
	count->bytes += (__u64)segments * headers + payload;
	count->frames++;

	long failed = lower_ttl(skb, ETH + outer, packet.version);
	if (tunnel->version == 4)
		failed |= write_v4(skb, &packet, tunnel, label, sequence);
	else
		failed |= write_v6(skb, &packet, tunnel, label, spread(sequence, first));
	// This cannot happen: there is room for the headers. The packet is damaged by now.
	if (failed)
		return TC_ACT_SHOT;
	return bpf_redirect_neigh(tunnel->interface, 0, 0, 0);
}

SEC("classifier")
int fast_path(struct __sk_buff *skb)
{
	int action = carry(skb);
	if (action >= 0)
		return action;
	__u32 why = -action;
	__u64 *packets = bpf_map_lookup_elem(&refused, &why);
	if (packets)
		++*packets;
	return NEXT;
}

char _license[] SEC("license") = "MIT OR Apache-2.0";
