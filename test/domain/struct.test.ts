import { create, fromBinary, fromJson, toBinary, toJson } from "@bufbuild/protobuf";
import { BinaryWriter } from "@bufbuild/protobuf/wire";
import { StructSchema } from "@bufbuild/protobuf/wkt";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { JsonObject } from "../../src/domain/json.js";
import { MAX_METADATA_DEPTH } from "../../src/domain/limits.js";
import { depthOf, isFiniteJson } from "../../src/domain/metadata.js";
import { decodeStruct, encodeStruct, Struct } from "../../src/domain/struct.js";
import { anyJson, expectSame } from "./any-json.js";

test("any JSON comes back as it was", () => {
  fc.assert(fc.property(anyJson, (json) => expectSame(decodeStruct(encodeStruct(json)), json)));
});

describe("the wire format", () => {
  test("is that of a stock google.protobuf.Struct, in both directions", () => {
    // The stock implementation keeps fields in a plain object, where `__proto__` is lost.
    const stockJson = anyJson.filter((json) => !JSON.stringify(json).includes("__proto__"));
    fc.assert(
      fc.property(stockJson, (json) => {
        expectSame(toJson(StructSchema, fromBinary(StructSchema, encodeStruct(json))) as JsonObject, json);
        expectSame(decodeStruct(toBinary(StructSchema, fromJson(StructSchema, json))), json);
      }),
    );
  });

  test("carries the numbers that JSON has not, so that they are seen and refused", () => {
    for (const number of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
      const kind = { case: "numberValue" as const, value: number };
      const stock = toBinary(StructSchema, create(StructSchema, { fields: { a: { kind } } }));
      for (const bytes of [stock, encodeStruct({ a: number })]) {
        expectSame(decodeStruct(bytes), { a: number });
        expect(isFiniteJson(decodeStruct(bytes))).toBe(false);
      }
    }
  });

  const entry = (write: (writer: BinaryWriter) => void, writer = new BinaryWriter()): BinaryWriter => {
    writer.uint32(10).fork();
    write(writer);
    return writer.join();
  };

  test("has fields left out, sent twice, in another order and unknown", () => {
    const bytes = (writer: BinaryWriter) => decodeStruct(writer.finish());
    expectSame(bytes(entry(() => {})), { "": null });
    expectSame(bytes(entry((writer) => writer.uint32(10).string("a"))), { a: null });
    expectSame(bytes(entry((writer) => writer.uint32(18).fork().uint32(32).bool(true).join())), { "": true });
    const valueFirst = (value: number) => (writer: BinaryWriter) =>
      writer.uint32(18).fork().uint32(17).double(value).join().uint32(10).string("a");
    expectSame(bytes(entry(valueFirst(2), entry(valueFirst(1)))), { a: 2 });
    const unknown = (writer: BinaryWriter) =>
      writer.uint32(802).string("later").uint32(10).string("a").uint32(803).uint32(8).uint32(1).uint32(804);
    expectSame(bytes(entry(unknown).uint32(800).uint32(7)), { a: null });
  });

  test("is refused when it is cut off, or a part of it reaches past its whole", () => {
    fc.assert(
      fc.property(anyJson, (json) => {
        const bytes = encodeStruct(json);
        if (bytes.length > 0) expect(() => decodeStruct(bytes.subarray(0, -1))).toThrow();
      }),
    );
    const [first, ...rest] = encodeStruct({ a: "secret", b: 1 });
    const length = rest[0] as number;
    for (const wrong of [length - 1, length + 1, 127]) {
      expect(() => decodeStruct(Uint8Array.of(first as number, wrong, ...rest.slice(1)))).toThrow();
    }
    // A text that ends after its entry, within the message.
    const text = entry((writer) => writer.uint32(10).raw(Uint8Array.of(9)).raw(new Uint8Array(3)));
    expect(() => decodeStruct(entry((writer) => writer.uint32(10).string("a string"), text).finish())).toThrow();
  });

  test("may be so deep that only a part of it is read, enough to be refused", () => {
    const list = (bytes: number) => [50, ...varint(bytes + varint(bytes).length + 1), 10, ...varint(bytes)];
    const object = (bytes: number) => {
      const key = [10, 1, 97, 18, ...varint(bytes)];
      const inner = [10, ...varint(bytes + key.length), ...key];
      return [42, ...varint(bytes + inner.length), ...inner];
    };
    for (const level of [list, object]) {
      const parts: number[][] = [[8, 0]];
      let bytes = 2;
      for (let depth = 0; depth < 50_000; depth++) {
        const part = level(bytes);
        parts.push(part);
        bytes += part.length;
      }
      const value = Uint8Array.from(parts.reverse().flat());
      const hostile = entry((writer) => writer.uint32(10).string("a").uint32(18).bytes(value)).finish();
      const after = entry((writer) => writer.uint32(10).string("b")).finish();
      const read = decodeStruct(Buffer.concat([hostile, after]));
      expect(depthOf(read, 100)).toBeGreaterThan(MAX_METADATA_DEPTH);
      expect(Object.keys(read)).toEqual(["a", "b"]);
    }
  });

  test("is handed on as it is where it is stored already", () => {
    const bytes = encodeStruct({ a: [1, { b: null }] });
    expect(Struct.encode(bytes, new BinaryWriter()).finish()).toEqual(bytes);
    expect(Struct.encode({ a: [1, { b: null }] }, new BinaryWriter()).finish()).toEqual(bytes);
  });

  const varint = (value: number): Uint8Array => new BinaryWriter().uint32(value).finish();
});

test("what is no JSON value is refused where it is sent", () => {
  for (const value of [1n, () => 1, Symbol("s")]) {
    expect(() => encodeStruct({ a: [value] } as unknown as JsonObject)).toThrow(TypeError);
  }
  expectSame(decodeStruct(encodeStruct({ a: undefined, b: 1 } as unknown as JsonObject)), { b: 1 });
});
