import type { FastifyInstance, FastifyReply } from "fastify";

/**
 * Answers all requests in a part of the app that are for nothing there. Before fastify reads their bodies, that is: who sends one has
 * shown nothing, and nobody counts what it takes.
 */
export function answerNowhere(app: FastifyInstance, answer: (reply: FastifyReply) => FastifyReply): void {
  app.setNotFoundHandler((_request, reply) => answer(reply));
  app.addHook("preParsing", (request, reply, _payload, done) => {
    if (request.is404) answer(reply);
    else done();
  });
}
