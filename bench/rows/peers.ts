import type { Handlers } from "../load/serve.js";
import type { Bench } from "../setup/bench.js";
import { type Child, type Script, startChild } from "../setup/child.js";
import { installPeers } from "../setup/peers.js";
import type { Stage } from "../setup/stage.js";

let peers: Promise<string> | undefined;

/** Tried once: where it fails it takes a while to. */
function installed({ env, say, quick }: Bench): Promise<string> {
  peers ??= installPeers(env, say, { mayInstall: !quick });
  return peers;
}

/** The stage of the rows against peers. Throws Skipped when there are no peers to be had. */
export async function peerStage(bench: Bench): Promise<Stage> {
  await installed(bench);
  return bench.stage("peers");
}

export interface Peer<H extends Handlers> {
  readonly peer: Child<H>;
  /** Where the peer is installed, and the database that it is to use. */
  readonly where: [folder: string, uri: string, database: string];
}

/** A process for a peer, on the same `mongod`, which shall acknowledge its writes as ours does. */
export async function startPeer<H extends Handlers>(bench: Bench, script: Script): Promise<Peer<H>> {
  const folder = await installed(bench);
  const stage = await peerStage(bench);
  const peer = startChild<H>(script);
  stage.onStop(peer.stop);
  const uri = `${bench.mongo.uri}&w=majority&journal=true&maxPoolSize=20`;
  return { peer, where: [folder, uri, `bench_${script}`] };
}
