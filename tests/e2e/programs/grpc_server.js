// A gRPC server that answers calls of the client's method with its name, once its control plane has told it to. It ends when nobody holds
// its standard input.

'use strict';

const grpc = require('@grpc/grpc-js');
const xds = require('@grpc/grpc-js-xds');

xds.register();
const [name, port] = process.argv.slice(2);
const bytes = (value) => value;
const method = {
  path: '/shop.Cart/Get',
  requestStream: false,
  responseStream: false,
  requestSerialize: bytes,
  requestDeserialize: bytes,
  responseSerialize: bytes,
  responseDeserialize: bytes,
};
const server = new xds.XdsServer();
server.addService({ get: method }, { get: (call, callback) => callback(null, Buffer.from(name)) });
server.bindAsync(`127.0.0.1:${port}`, grpc.ServerCredentials.createInsecure(), (error) => {
  if (error) throw error;
});
process.stdin.on('end', () => process.exit(0)).resume();
