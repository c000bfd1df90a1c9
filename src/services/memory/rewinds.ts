import type { RewindMemoryRequest } from "../../../gen/sessions/v1/memory_service.js";
import { createChecks } from "../checks.js";

/** After what a request rewinds: the id of a message, or a sequence. Throws INVALID_ARGUMENT with all that is wrong with the request. */
export function checkedTarget(request: RewindMemoryRequest): string | number {
  const { sessionId, afterMessageId, afterSequence, expectedLastSequence } = request;
  const checks = createChecks();
  checks.id("session_id", sessionId);
  if ((afterMessageId === undefined) === (afterSequence === undefined)) {
    checks.fail(
      afterMessageId === undefined ? "after_message_id" : "after_sequence",
      "Exactly one of after_message_id and after_sequence says what stays: send one of them, and not both.",
    );
  }
  checks.optionalId("after_message_id", afterMessageId);
  checks.count("after_sequence", afterSequence);
  checks.count("expected_last_sequence", expectedLastSequence);
  checks.done();
  return afterMessageId ?? afterSequence ?? 0;
}
