/** An answer that is encoded already, because what it is made of needed no decoding. It goes out as it is. */
export class Encoded<Message> {
  readonly bytes: Buffer;
  /** Tells the compiler which message it is; never set. */
  readonly of?: Message;

  constructor(bytes: Buffer) {
    this.bytes = bytes;
  }
}
