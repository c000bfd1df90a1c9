import type { Row } from "../harness/row.js";
import { addMemoryRows } from "./add-memory.js";
import { cacheRow } from "./cache.js";
import { chatTurnRows } from "./chat-turn.js";
import { addMemoryDepthRow, deleteDepthRow } from "./depth.js";
import { fairnessRow } from "./fairness.js";
import { getMemoryRows } from "./get-memory.js";
import { getSessionRow } from "./get-session.js";
import { httpGetSessionRow } from "./http-get-session.js";
import { keyRows } from "./key.js";
import { langchainRows } from "./langchain.js";
import { filterMetadataRow, listPageDepthRow, listSessionsRow } from "./listing.js";
import { mastraRows } from "./mastra.js";
import { recallRows } from "./recall.js";
import { recallHybridRow } from "./recall-hybrid.js";
import { searchRows } from "./search.js";
import { slowReaderRow } from "./slow-reader.js";
import { watchRows } from "./watching.js";
import { zepAddMemoryRow } from "./zep-add-memory.js";

/** In the order in which they are printed. */
export const ROWS: readonly Row[] = [
  getSessionRow,
  httpGetSessionRow,
  ...addMemoryRows,
  zepAddMemoryRow,
  ...getMemoryRows,
  ...chatTurnRows,
  ...keyRows,
  fairnessRow,
  ...watchRows,
  listSessionsRow,
  slowReaderRow,
  listPageDepthRow,
  addMemoryDepthRow,
  deleteDepthRow,
  filterMetadataRow,
  cacheRow,
  ...searchRows,
  ...recallRows,
  recallHybridRow,
  ...mastraRows,
  ...langchainRows,
];
