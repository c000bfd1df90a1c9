/** The end of a load process: answers what its parent calls, one message each way. See setup/child.ts. */

export type Handlers = Record<string, (...args: never[]) => unknown>;

export interface Question {
  readonly id: number;
  readonly method: string;
  readonly args: readonly unknown[];
}

export type Answer = { readonly id: number } & ({ readonly result: unknown } | { readonly error: string });

export function serve(handlers: Handlers): void {
  const answer = async ({ id, method, args }: Question): Promise<Answer> => {
    try {
      const handler = handlers[method] as ((...args: readonly unknown[]) => unknown) | undefined;
      if (handler === undefined) throw new Error(`no method ${method}`);
      return { id, result: await handler(...args) };
    } catch (error) {
      return { id, error: error instanceof Error ? (error.stack ?? error.message) : String(error) };
    }
  };
  process.on("message", (question: Question) => void answer(question).then((result) => process.send?.(result)));
  // However the parent ended.
  process.on("disconnect", () => process.exit());
}
