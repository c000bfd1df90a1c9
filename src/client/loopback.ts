import { BlockList, isIP } from "node:net";

const LOOPBACK = new BlockList();
LOOPBACK.addSubnet("127.0.0.0", 8, "ipv4");
LOOPBACK.addAddress("::1", "ipv6");

/**
 * Whether what is sent to a gRPC target stays on this machine. In doubt it does not: a name that merely looks local is looked up
 * like any other, and a target can name the DNS server that is to be asked, or several addresses.
 */
export function isLoopback(target: string): boolean {
  const [, scheme = "", authority = "", path = ""] =
    /^(?:(dns|ipv4|ipv6|unix):)?(?:\/\/([^/]*)\/)?(.*)$/s.exec(target) ?? [];
  if (scheme === "unix") return true;
  if (authority !== "") return false;
  if (scheme === "ipv4" || scheme === "ipv6") return path.split(",").every((one) => isLoopbackHost(hostOf(one)));
  const host = hostOf(path);
  return host.toLowerCase() === "localhost" || isLoopbackHost(host);
}

/** Without the port, which may be left out; so may the brackets of an IPv6 address without one. */
function hostOf(text: string): string {
  if (isIP(text)) return text;
  const [, bracketed, plain] = /^(?:\[([^[\]]+)\]|([^:[\]]+))(?::\d+)?$/.exec(text) ?? [];
  return bracketed ?? plain ?? "";
}

function isLoopbackHost(host: string): boolean {
  const version = isIP(host);
  return version !== 0 && LOOPBACK.check(host, version === 4 ? "ipv4" : "ipv6");
}
