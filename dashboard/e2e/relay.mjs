// A relay between the page and the collector, so that the connection can be cut and restored at will.
import { connect, createServer } from "node:net";

export class Relay {
  #server = null;
  #sockets = new Set();
  #port = 0;

  constructor(target) {
    this.target = new URL(target);
  }

  get base() {
    return `http://127.0.0.1:${this.#port}`;
  }

  /** Listens; after a cut, at the same address again. */
  open() {
    this.#server = createServer((client) => this.#relay(client));
    return new Promise((resolve, reject) => {
      this.#server.once("error", reject);
      this.#server.listen(this.#port, "127.0.0.1", () => {
        this.#port = this.#server.address().port;
        resolve();
      });
    });
  }

  /** Ends every connection and refuses new ones. */
  cut() {
    for (const socket of this.#sockets) socket.destroy();
    return new Promise((resolve) => this.#server.close(resolve));
  }

  #relay(client) {
    const server = connect(Number(this.target.port) || 80, this.target.hostname);
    for (const [socket, other] of [
      [client, server],
      [server, client],
    ]) {
      this.#sockets.add(socket);
      socket.on("error", () => other.destroy());
      socket.on("close", () => {
        this.#sockets.delete(socket);
        other.destroy();
      });
    }
    client.pipe(server);
    server.pipe(client);
  }
}
