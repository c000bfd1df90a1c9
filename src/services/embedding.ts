import { notingUnembedded } from "../domain/embedding.js";
import { createEndpoint, type EndpointSettings } from "../embeddings/endpoint.js";
import { MAX_CHARACTERS, modelKey } from "../embeddings/texts.js";
import type { GroupCommit } from "../store/changes/group-commit.js";
import type { Database } from "../store/database.js";
import { takeLease } from "../store/erasing/lease.js";
import type { ForkStore } from "../store/forks/forks.js";
import { createVectorStore } from "../store/vectors/vectors.js";
import { createEmbedder, type Embedder, type EmbeddingsObserver } from "./embedder.js";
import { createMeanings, type Meanings } from "./search/meanings.js";

/** All that there is only where texts are turned into vectors. */
export interface Embedding {
  /** Changes of sessions that also note what is to be embedded. */
  noting(changes: GroupCommit): GroupCommit;
  notingForks(forks: ForkStore): ForkStore;
  readonly embedder: Embedder;
  readonly meanings: Meanings;
}

export interface EmbeddingDeps {
  readonly database: Database;
  readonly log: {
    info(message: string): void;
    warn(about: object, message: string): void;
  };
  readonly observer: EmbeddingsObserver;
}

export function createEmbedding(settings: EndpointSettings, { database, log, observer }: EmbeddingDeps): Embedding {
  const endpoint = createEndpoint(settings);
  const model = modelKey(settings);
  const embedder = createEmbedder({
    store: createVectorStore(database, model, MAX_CHARACTERS),
    endpoint,
    dimensions: settings.dimensions,
    takeTurn: (holder, forMs) => takeLease(database, "embedder", holder, forMs),
    observer,
    onOutage({ failure, message }) {
      log.warn({ failure, cause: message }, "the embeddings endpoint fails: what is added is embedded later");
    },
    onRecovery: () => log.info("the embeddings endpoint is as it should be again"),
    onError: (err, message) => log.warn({ err }, message),
  });
  return {
    noting: (changes) => ({
      close: changes.close,
      async submit(call, change, cost) {
        const result = await changes.submit(call, { ...change, decide: notingUnembedded(change.decide) }, cost);
        embedder.nudge();
        return result;
      },
    }),
    notingForks: (forks) => ({
      ...forks,
      async publish(call, copy, decide) {
        const session = await forks.publish(call, copy, (state, copied) =>
          notingUnembedded((target) => decide({ ...state, target }, copied))(state.target),
        );
        embedder.nudge();
        return session;
      },
    }),
    embedder,
    meanings: createMeanings({
      endpoint,
      model,
      maxCharacters: MAX_CHARACTERS,
      onFailure: (failure) => observer.failed(failure),
    }),
  };
}
