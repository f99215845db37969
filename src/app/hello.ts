/**
 * The app that `deploy-app` runs when it is given no command: an HTTP server that answers 200 and says where it runs.
 * It gets all it needs from the environment: PORT, VPCCTL_VPC, VPCCTL_SUBNET, VPCCTL_INSTANCE.
 */
import { createServer } from 'node:http';

const { PORT = '8080', VPCCTL_VPC = '?', VPCCTL_SUBNET = '?', VPCCTL_INSTANCE = '?' } = process.env;

const server = createServer((request, response) => {
  const body = {
    vpc: VPCCTL_VPC,
    subnet: VPCCTL_SUBNET,
    instance: VPCCTL_INSTANCE,
    you: request.socket.remoteAddress?.replace(/^::ffff:/, ''),
  };
  response.writeHead(200, { 'content-type': 'application/json', connection: 'close' });
  response.end(`${JSON.stringify(body)}\n`);
});
server.listen(Number(PORT), '0.0.0.0');
