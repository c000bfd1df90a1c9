import { measure, type Result } from "./harness/measure.js";
import { jsonLine, table } from "./harness/report.js";
import { type Row, STAGES } from "./harness/row.js";
import { type Options, readOptions, USAGE } from "./options.js";
import { ROWS } from "./rows/index.js";
import { type Bench, startBench } from "./setup/bench.js";

/** `npm run bench`: the result goes to standard output, how it goes to standard error. */

const EXIT_USAGE = 64;

const began = Date.now();

function say(line: string): void {
  process.stderr.write(`[${((Date.now() - began) / 1_000).toFixed(0).padStart(4)} s] ${line}\n`);
}

function optionsOrExit(): Options {
  try {
    const options = readOptions(process.argv.slice(2));
    const names = ROWS.flatMap(({ name, group = [] }) => [name, group].flat());
    const strange = options.rows?.find((name) => !names.includes(name));
    if (strange !== undefined)
      throw new Error(`--rows: no row ${strange}; there are ${[...new Set(names)].join(", ")}.`);
    return options;
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n${USAGE}`);
    process.exit(EXIT_USAGE);
  }
}

async function run(options: Options): Promise<readonly Result[]> {
  const bench = await startBench(options, process.env, say);
  stopOnSignals(bench);
  try {
    const results = new Map<Row, Result>();
    // Stage by stage, so that each one's data are made once.
    const rows = STAGES.flatMap((stage) => ROWS.filter((row) => row.stage === stage && isAsked(row, options)));
    for (const row of rows) {
      say(row.name);
      const result = await measure(row, bench);
      results.set(row, result);
      say(jsonLine(result));
    }
    return ROWS.flatMap((row) => results.get(row) ?? []);
  } finally {
    await bench.stop();
  }
}

const isAsked = ({ name, group = name }: Row, { rows }: Options): boolean =>
  rows === undefined || rows.includes(name) || rows.includes(group);

function stopOnSignals(bench: Bench): void {
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    process.once(signal, () => {
      say(`${signal}: stopping`);
      void bench.stop().finally(() => process.exit(1));
    });
  }
}

const options = optionsOrExit();
const results = await run(options);
const isJudged = !options.quick;
process.stdout.write(options.json ? `${results.map(jsonLine).join("\n")}\n` : `${table(results, isJudged)}\n`);
// A target that was missed is a result; a row that could not be measured is a fault.
process.exitCode = results.some((result) => "how" in result && result.how === "failed") ? 1 : 0;
