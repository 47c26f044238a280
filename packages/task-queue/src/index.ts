export { queueNameOf, type Ticket } from './ticket.js';
export { createTicketReceiver, type TicketReceiver } from './ticket-receiver.js';
export { createTicketSender, type TicketSender } from './ticket-sender.js';
