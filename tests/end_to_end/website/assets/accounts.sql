CREATE USER 'wordpress'@'localhost' IDENTIFIED BY '@application@';
GRANT ALL ON wordpress.* TO 'wordpress'@'localhost';
CREATE USER 'backup'@'localhost' IDENTIFIED BY '@backup@';
GRANT SELECT, SHOW VIEW, TRIGGER, EVENT, LOCK TABLES, RELOAD, PROCESS ON *.* TO 'backup'@'localhost';
-- A server that resolves no names can do nothing with accounts of named hosts, and a dump of the accounts fails on them.
DELETE FROM mysql.global_priv WHERE Host <> 'localhost';
DELETE FROM mysql.proxies_priv WHERE Host <> 'localhost';
FLUSH PRIVILEGES;
ALTER USER 'root'@'localhost' IDENTIFIED BY '@admin@';
