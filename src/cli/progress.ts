import cliProgress from "cli-progress";

/** What the person in front of the terminal sees of an import or export; complaints go through it so that they do not tear the bar. */
export interface Progress {
  read(bytes: number): void;
  /** With some of its messages, or more of them. */
  session(messages: number, isContinued?: boolean): void;
  complain(line: string): void;
  stop(): void;
}

/** `totalBytes`: the size of the file, undefined when nobody knows. */
export function createProgress(stream: NodeJS.WriteStream, totalBytes: number | undefined): Progress {
  if (!stream.isTTY) {
    return { read() {}, session() {}, complain: (line) => void stream.write(`${line}\n`), stop() {} };
  }
  const bars = new cliProgress.MultiBar({
    stream,
    clearOnComplete: true,
    hideCursor: true,
    // A bar of a stream whose end nobody knows has no length.
    format: totalBytes
      ? "{bar} {percentage}%  {sessions} sessions  {messages} messages  {duration_formatted}"
      : "{sessions} sessions  {messages} messages  {duration_formatted}",
  });
  const shown = { sessions: 0, messages: 0 };
  const bar = bars.create(totalBytes ?? 1, 0, shown);
  return {
    read: (bytes) => bar.increment(totalBytes ? bytes : 0),
    session(messages, isContinued) {
      if (!isContinued) shown.sessions += 1;
      shown.messages += messages;
      bar.update(shown);
    },
    complain: (line) => bars.log(`${line}\n`),
    stop: () => bars.stop(),
  };
}
