import type { Settings } from "../setup/service.js";
import type { Stage } from "../setup/stage.js";
import type { Loading } from "./sides.js";

/** Services over a stage's data besides its own, with someone to load them; all of it ends with the stage. */

export const NO_CACHE: Settings = { SESSIONS_CACHE_MIB: "0" };

/** One with other settings. */
export async function serviceWith(stage: Stage, settings: Settings): Promise<Loading> {
  const service = await stage.startAnother(settings);
  stage.onStop(service.stop);
  return { generator: await stage.startGenerator(service.address) };
}

/** Another like the stage's own, for a load that goes to both. */
export async function besideAnother(stage: Stage): Promise<Loading> {
  const service = await stage.startAnother();
  stage.onStop(service.stop);
  return { generator: await stage.startGenerator(stage.service.address, service.address) };
}
