import ipaddr from 'ipaddr.js';

/** A network, or a single address as the smallest one. */
export type Network = ReturnType<typeof ipaddr.parseCIDR>;

/**
 * Reads `10.1.0.0/16`, `2001:db8::/32` or an address alone; undefined for anything else. IPv4 is taken as four decimal
 * parts only: `10.1` or `0177.0.0.1` mean different things to different programs.
 */
export function readNetwork(text: string): Network | undefined {
  const { IPv4, IPv6 } = ipaddr;
  if (IPv4.isValidCIDRFourPartDecimal(text)) return IPv4.parseCIDR(text);
  if (IPv4.isValidFourPartDecimal(text)) return [IPv4.parse(text), 32];
  if (IPv6.isValidCIDR(text)) return IPv6.parseCIDR(text);
  return IPv6.isValid(text) ? [IPv6.parse(text), 128] : undefined;
}

/** The network that one client has, as text: an IPv4 address, or the first 64 bits of an IPv6 one. */
export function networkOf(address: string): string {
  if (!ipaddr.isValid(address)) return address;
  const read = ipaddr.process(address);
  return read instanceof ipaddr.IPv6 ? read.parts.slice(0, 4).join(':') : read.toString();
}

/** True where the address is in one of the networks. An IPv4 address that arrives as IPv6 (`::ffff:10.1.2.3`) is IPv4. */
export function isInNetworks(address: string, networks: readonly Network[]): boolean {
  if (!ipaddr.isValid(address)) return false;
  const asked = ipaddr.process(address);
  return networks.some(([network, bits]) => network.kind() === asked.kind() && asked.match(network, bits));
}
