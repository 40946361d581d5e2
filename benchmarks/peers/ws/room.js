// A chat room in the memory of one Node process: everybody gets every message, nothing is kept. Usage: node room.js PORT
import { WebSocketServer } from "ws";

const rooms = new Map();
const server = new WebSocketServer({ host: "127.0.0.1", port: Number(process.argv[2]) });

server.on("connection", (socket, request) => {
  const name = request.url;
  const room = rooms.get(name) ?? new Set();
  rooms.set(name, room.add(socket));
  socket.on("message", (message) => {
    const text = message.toString();
    for (const member of room) member.send(text);
  });
  socket.on("close", () => {
    room.delete(socket);
    if (!room.size) rooms.delete(name);
  });
});
