import { seedSessions, seedUsers } from "../data/seed.js";
import type { Bench } from "../setup/bench.js";
import type { Stage } from "../setup/stage.js";

/** How many sessions each user has, and how many have each value of the metadata that is searched for. */
export const GROUP = 100;

/** The stage of the listings, with its many sessions in it. */
export async function manySessions(bench: Bench): Promise<Stage> {
  const stage = await bench.stage("listings");
  await stage.once("sessions", async () => {
    const { sessions } = bench.scale;
    bench.say(`putting in ${sessions} sessions`);
    const groups = sessions / GROUP;
    const users = await seedUsers(stage.database, groups, GROUP);
    await seedSessions(stage.database, {
      prefix: "session",
      count: sessions,
      owned: (index) => ({
        user: users[index % groups],
        // Other sessions than a user's, and as far apart.
        metadata: { trip: `trip-${(index * 7) % groups}` },
      }),
    });
  });
  return stage;
}
